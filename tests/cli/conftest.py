"""DVC ties its log to the output that is there when it is loaded; that of a CliRunner is closed after each command."""

import tru.ops.release.versions  # noqa: F401
