<?php

// SPDX-License-Identifier: MIT

return [App\Providers\AppServiceProvider::class];
