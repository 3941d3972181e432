"""The `hwnas` command: the list of commands, and what an error looks like."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hwnas.cli.calibrate import calibrate
from hwnas.cli.compress import compress
from hwnas.cli.device import device
from hwnas.cli.devices import devices
from hwnas.cli.doctor import doctor
from hwnas.cli.export import export
from hwnas.cli.front import front
from hwnas.cli.measure import measure
from hwnas.cli.pick import pick
from hwnas.cli.predict import predict
from hwnas.cli.report import report
from hwnas.cli.runtimes import runtimes
from hwnas.cli.search import search
from hwnas.cli.spaces import spaces
from hwnas.cli.tasks import tasks
from hwnas.cli.verify import verify
from hwnas.cli.watch import watch
from hwnas.cli.worker import worker
from hwnas.errors import HwnasError

__all__ = ["app", "main"]

INTERRUPTED = 130


class Commands(TyperGroup):
    """A group whose errors are one line: exit code 1 for what hwnas or the system refused, 130 when interrupted."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the arguments, to say how an interrupted search goes on."""
        ctx.meta["hwnas.arguments"] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn errors into a line and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail(_interrupted(ctx.meta["hwnas.arguments"]), INTERRUPTED)
        except HwnasError as error:
            _fail(f"error: {error}", 1)
        except BrokenPipeError:
            raise  # `hwnas front RUN | head` is no error; the framework ends quietly
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            _fail(f"error: {error.strerror or error}{place}; check the path, its permissions and the free space", 1)


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(" ".join(text.split()), err=True)
    raise typer.Exit(code)


def _interrupted(arguments: tuple[str, ...]) -> str:
    if not arguments or arguments[0] not in ("search", "compress", "worker"):
        return "interrupted"
    from hwnas.search.storage import hidden

    resume = arguments if arguments[0] == "worker" or "--resume" in arguments else (*arguments, "--resume")
    shown = (hidden(word) if "://" in word else word for word in resume)
    return f"interrupted; go on with: {shlex.join(('hwnas', *shown))}"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hwnas {version('hwnas')}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    name="hwnas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def hwnas(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hardware-aware neural architecture search: what the front says is what the device does."""


COMMANDS: tuple[Callable[..., None], ...] = (
    *(search, compress, worker, watch, front, report, pick, export, verify, measure, calibrate, predict),
    *(devices, spaces, tasks, runtimes, doctor),
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(device, name="device")


def main() -> None:
    """Run the command line."""
    app(prog_name="hwnas")
