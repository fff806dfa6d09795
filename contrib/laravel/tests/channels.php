<?php

// SPDX-License-Identifier: MIT

// No channels: a test defines those that it needs.
