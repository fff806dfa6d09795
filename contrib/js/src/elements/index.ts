// SPDX-License-Identifier: MIT
export { ConnectionStatus } from './connection-status.js';
export { english, setTexts, type Texts } from './texts.js';
