<?php
// SPDX-License-Identifier: MIT
// usage: php dotenv.php VENDOR.  As tests/e2e/dotenv_dump.c, with phpdotenv and Laravel's env().
require $argv[1] . '/autoload.php';

use Dotenv\Loader\Loader;
use Dotenv\Parser\Parser;
use Dotenv\Repository\Adapter\ArrayAdapter;
use Dotenv\Repository\RepositoryBuilder;
use Dotenv\Util\Str;
use Illuminate\Support\Env;

function convert(string $value)
{
    putenv('DOTENV_TEST_VALUE=' . $value);
    return Env::get('DOTENV_TEST_VALUE');
}

$files = explode("\0", stream_get_contents(STDIN));
array_pop($files);
foreach ($files as $text) {
    $adapter = ArrayAdapter::create()->get();
    $outside = ArrayAdapter::create()->get();
    $outside->write('OUTSIDE', 'from outside');
    // the file goes to the first adapter, the environment is read before it
    $repository = RepositoryBuilder::createWithNoAdapters()
        ->addReader($outside)->addAdapter($adapter)->immutable()->make();
    try {
        $content = Str::utf8($text)->success()->get();
        (new Loader())->load($repository, $entries = (new Parser())->parse($content));
        $out = [];
        foreach ($entries as $entry) {
            $value = $adapter->read($entry->getName());
            if ($value->isDefined()) {
                $out[$entry->getName()] = [$value->get(), convert($value->get())];
            }
        }
        $line = json_encode((object) $out, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        echo $line === false ? '"not JSON"' : $line, "\n";
    } catch (\Dotenv\Exception\InvalidFileException) {
        echo "null\n";
    }
}
