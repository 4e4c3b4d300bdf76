"""Runs the Autobahn test suite against an echo server, whose command is given, and fails when a case does."""

import asyncio
import collections
import subprocess
import sys

import kosoku

# At once: the cases wait for each other's timeouts otherwise.
PARALLEL = 4
ACCEPTABLE = {"OK", "NON-STRICT", "INFORMATIONAL"}


async def main(command: list[str], cases: list[str]) -> int:
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        try:
            results = await kosoku.run_fuzzingclient(address, cases or None, None, concurrency=PARALLEL)
        except kosoku.FailureError as failure:
            print(failure, file=sys.stderr)
            results = failure.results
    finally:
        server.kill()
        server.wait()

    bad = [
        result
        for result in results
        if result.behavior.value not in ACCEPTABLE or result.behavior_close.value not in {"OK", "INFORMATIONAL"}
    ]
    for result in bad:
        print(f"{result.case_id}: {result.behavior.value}, close {result.behavior_close.value}: {result.result}")
    kinds = collections.Counter(result.behavior.value for result in results)
    print(f"{len(results)} cases: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:2], sys.argv[2:])))
