"""The program `adsync`: `run` is the operator, `crds` prints the CRDs, `version` says the version.

A mistake of the caller is one line on standard error and exit code 2; what keeps the operator from working, one line and exit code 1.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from adsync.errors import AdsyncError
from adsync.lean import lean_imports
from adsync.settings import Settings
from adsync.version import VERSION

app = typer.Typer(
    name="adsync",
    help="Keeps users, passwords and groups of Active Directory in step with Kubernetes resources.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", is_eager=True, callback=lambda wanted: _tell_version() if wanted else None)] = False,
) -> None:
    pass


def _tell_version() -> None:
    typer.echo(VERSION)
    raise typer.Exit


@app.command()
def run(
    namespace: Annotated[
        list[str] | None, typer.Option(help="Serve this namespace only; may be repeated. Default: all.", metavar="NS")
    ] = None,
    secret_namespace: Annotated[
        list[str] | None,
        typer.Option(help="Read Secrets in this namespace only; may be repeated. Default: in all that are served.", metavar="NS"),
    ] = None,
    metrics_address: Annotated[str | None, typer.Option(help="Where /metrics is served. Default: :9090", metavar="HOST:PORT")] = None,
    health_address: Annotated[
        str | None, typer.Option(help="Where /healthz and /readyz are served. Default: :8080", metavar="HOST:PORT")
    ] = None,
    leader_elect: Annotated[
        bool | None,
        typer.Option("--leader-elect/--no-leader-elect", help="Work only while holding the Lease adsync-leader; for several replicas."),
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console. Default: json", metavar="FORMAT")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error. Default: info", metavar="LEVEL")] = None,
    operator_namespace: Annotated[
        str | None,
        typer.Option(help="Where the operator keeps its own Secret and Lease. Default: the pod's, else adsync-system", metavar="NS"),
    ] = None,
    resolver: Annotated[
        list[str] | None,
        typer.Option(help="A name server for the domains' SRV records; may be repeated. Default: the system's.", metavar="IP[:PORT]"),
    ] = None,
) -> None:
    """Run the operator, with the pod's service account or KUBECONFIG. Each option can also be set as ADSYNC_… in the environment."""
    given: dict[str, Any] = {
        "namespaces": tuple(namespace) if namespace else None,
        "secret_namespaces": tuple(secret_namespace) if secret_namespace else None,
        "metrics_address": metrics_address,
        "health_address": health_address,
        "leader_elect": leader_elect,
        "log_format": log_format,
        "log_level": log_level,
        "operator_namespace": operator_namespace,
        "resolvers": tuple(resolver) if resolver else None,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    with lean_imports():
        from adsync.process import run_operator  # half a second of imports that the other commands do without

    raise typer.Exit(run_operator(settings))


@app.command()
def crds() -> None:
    """Print the CustomResourceDefinitions, for kubectl apply --server-side -f -"""
    from adsync.resources.crd import manifest

    sys.stdout.write(manifest())


@app.command()
def version() -> None:
    """Print the version, as --version does."""
    typer.echo(VERSION)


def main() -> None:
    """The entry point: never a traceback for what a person did wrong."""
    try:
        code = app(standalone_mode=False)
    except ValidationError as error:
        code = _fail(_explained(error), 2)
    except AdsyncError as error:
        code = _fail(str(error), 1)
    except TyperException as error:
        code = _fail(" ".join(error.format_message().split()).rstrip(".") + ". See adsync --help.", 2)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        # The reader of `adsync crds` has gone (as head does): nothing to complain of, and nothing more to flush.
        sys.stdout = None
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"adsync: {message}\n")
    return code


def _explained(error: ValidationError) -> str:
    """The first mistake in the settings, by the option's name."""
    names = {"namespaces": "namespace", "secret_namespaces": "secret-namespace", "resolvers": "resolver"}
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    option = names.get(name, name).removeprefix("ADSYNC_").lower().replace("_", "-")
    return f"--{option} (or ADSYNC_{option.upper().replace('-', '_')}): {first['msg'].removeprefix('Value error, ')}"
