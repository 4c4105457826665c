"""`duologue models`: get model files, and list them."""

import sys

from duologue import settings
from duologue.engines.models.store import command


def main(argv: list[str]) -> int:
    """Pull or list, in the folder that the settings name."""
    return command(argv, settings.load({}).models_folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
