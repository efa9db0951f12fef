"""The command line of the config: python -m routing.config schema.

`schema` prints the JSON schema, generated from the typed sections and the tables of choices:

    python -m routing.config schema > workflow_config.schema.json
"""

import argparse
import json

from routing.config.schema import schema


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m routing.config")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", help="print the JSON schema of a config")
    parser.parse_args(argv)
    print(json.dumps(schema(), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
