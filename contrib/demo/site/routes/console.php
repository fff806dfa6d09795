<?php

// SPDX-License-Identifier: MIT
