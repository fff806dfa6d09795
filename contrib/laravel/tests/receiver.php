<?php

// SPDX-License-Identifier: MIT

// A web server for tests: keeps each request as a line of JSON in the file RECEIVED.
file_put_contents(getenv('RECEIVED'), json_encode(['key' => $_SERVER['HTTP_X_PUSHER_KEY'] ?? '',
    'signature' => $_SERVER['HTTP_X_PUSHER_SIGNATURE'] ?? '', 'body' => file_get_contents('php://input')])."\n",
    FILE_APPEND | LOCK_EX);
