"""`dagster-webserver` with the guard and all its options: `python -m event_pipeline.webserver --port 3000`.

Without a workspace option it uses this package's workspace.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dagster_webserver.cli as dagster_cli

from event_pipeline import shipped
from event_pipeline.settings import SettingsError, load_settings
from event_pipeline.shipped import shipped_file
from event_pipeline.webserver.guard import Guard, exposure_warning, is_loopback, names_of

_MAKE_APPLICATION = "create_app_from_workspace_process_context"
_HOST_UI = "host_dagster_ui_with_workspace_process_context"
_WORKSPACE_OPTIONS = ("-w", "--workspace", "-m", "--module-name", "-f", "--python-file", "--empty-workspace")


def main() -> None:
    """Serve until a signal ends it."""
    try:
        names = names_of(load_settings().ui_hosts)
    except SettingsError as error:
        sys.exit(f"error: {error}")
    # Dagster does not accept external middleware, but looks up both names when it calls them. If a later version lacks
    # one, this fails with a KeyError instead of serving without the guard.
    names_in_dagster = vars(dagster_cli)
    make_application = names_in_dagster[_MAKE_APPLICATION]
    host_ui = names_in_dagster[_HOST_UI]

    def make_guarded(*arguments: Any, **options: Any) -> Guard:
        return Guard(make_application(*arguments, **options), names)

    def host_and_warn(context: Any, host: str | None, *arguments: Any, **options: Any) -> None:
        # `event-pipeline dev` has already printed it.
        if host and not is_loopback(host) and "DAGSTER_IS_DEV_CLI" not in os.environ:
            sys.stderr.write(f"warning: {exposure_warning(host)}\n")
        host_ui(context, host, *arguments, **options)

    names_in_dagster.update({_MAKE_APPLICATION: make_guarded, _HOST_UI: host_and_warn})
    arguments = sys.argv[1:]
    if not any(argument.split("=")[0] in _WORKSPACE_OPTIONS for argument in arguments):
        arguments += ["--workspace", str(shipped_file(shipped.WORKSPACE_YAML))]
    dagster_cli.cli(arguments, auto_envvar_prefix="DAGSTER_WEBSERVER", prog_name="event_pipeline.webserver")


if __name__ == "__main__":
    main()
