"""All commands of ``evim-deploy``, with their error handling and exit codes."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, NoReturn, cast

import typer

from evim_deploy import __version__
from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli.bench import bench
from evim_deploy.cli.compare import compare
from evim_deploy.cli.console import SETTINGS, open_streams, print_json
from evim_deploy.cli.doctor import doctor
from evim_deploy.cli.evaluate import evaluate
from evim_deploy.cli.export import export
from evim_deploy.cli.inspect import inspect
from evim_deploy.cli.models import models
from evim_deploy.cli.predict import predict
from evim_deploy.cli.report import report
from evim_deploy.cli.verify import verify
from evim_deploy.common import threads
from evim_deploy.common.errors import INTERRUPTED_EXIT_CODE, BadInput, EvimError, UsageProblem
from evim_deploy.common.system_errors import problem_of

EXIT_CODES = (
    "Exit codes: 0 done; 1 a fault in evim-deploy itself, or B is slower in `compare`; 2 usage; 3 bad input; "
    "4 something not installed; 5 parity failed; 6 this host cannot check it; 130 interrupted."
)

# Newer releases of Typer contain their own click, older ones import it; both have this class.
_ClickException = cast(
    "type[typer.BadParameter]", next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
)

app = typer.Typer(
    name="evim-deploy",
    help="Export EfficientViM checkpoints to verified ONNX, Core ML and TFLite artifacts.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(export)
app.command()(verify)
app.command()(predict)
app.command()(evaluate)
app.command()(inspect)
app.command()(bench)
app.command()(report)
app.command()(compare)
app.command()(models)
app.command()(doctor)


def _version(is_set: bool) -> None:
    if is_set:
        sys.stdout.write(f"evim-deploy {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Export EfficientViM checkpoints to verified ONNX, Core ML and TFLite artifacts."""
    if context.invoked_subcommand != "bench":  # bench times engines with their own settings
        threads.let_waiting_threads_sleep()


def run() -> NoReturn:
    """Run the program: a command, one message for any problem, and the documented exit code."""
    # torch, TensorFlow and coremltools create many objects that live as long as the process. With Python's default
    # threshold, 700 new objects, garbage collection takes an eighth of the export of a small network.
    gc.set_threshold(20_000)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as set by nohup or a shell's &
            signal.signal(number, _interrupt)
    SETTINGS.json = "--json" in sys.argv  # before the options are parsed, for errors while parsing
    try:
        open_streams()
        _check_text(sys.argv)
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
        if SETTINGS.interrupted:
            _interrupted()
    except typer.Abort:
        _interrupted()
    except KeyboardInterrupt:
        _interrupted()
    except _ClickException as error:
        _fail(UsageProblem(error.format_message() or "The command is missing.", "See `evim-deploy --help`."))
    except EvimError as error:
        _fail(error)
    except SystemExit as stop:  # rich and click exit with 1 if the reader closed stdout, as `head` does
        sys.exit(0 if stop.code == 1 else stop.code)
    except BrokenPipeError:  # likewise
        sys.exit(0)
    except Exception as error:  # a fault of evim-deploy: one message too
        if SETTINGS.verbose and not SETTINGS.interrupted:
            sys.stderr.writelines([*SETTINGS.third_party, traceback.format_exc()])
        fault = EvimError(
            f"evim-deploy failed: {type(error).__name__}: {error}",
            "This is a fault in evim-deploy. Run it again with --verbose and report what it prints.",
        )
        _fail(problem_of(error) or fault)
    sys.exit(code)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not text in the system's encoding; libraries do not accept their bytes.

    Raises:
        BadInput: An argument has bytes outside the system's encoding.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise BadInput(
                f"{argument!a} is not text in this system's encoding, {sys.getfilesystemencoding()}.",
                "Rename the file or folder, or set LC_ALL to a UTF-8 locale such as C.UTF-8.",
            ) from None


def _interrupt(signum: int, frame: object) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    SETTINGS.interrupted = True
    raise KeyboardInterrupt


def _interrupted() -> NoReturn:
    sys.stderr.write("Interrupted. No partial files were left.\n")
    _print_problem({"exit_code": INTERRUPTED_EXIT_CODE, "cause": "Interrupted.", "remedy": "Run it again."})
    sys.exit(INTERRUPTED_EXIT_CODE)


def _fail(error: EvimError) -> NoReturn:
    if SETTINGS.interrupted:  # a library turned the interrupt into another error
        _interrupted()
    sys.stderr.write(f"Error: {error}\n")
    _print_problem(error.to_dict())
    sys.exit(error.exit_code)


def _print_problem(problem: Mapping[str, int | str]) -> None:
    if SETTINGS.json:
        with suppress(EvimError, BrokenPipeError):  # stderr and the exit code carry the problem, too
            print_json({"schema_version": SCHEMA_VERSION, "error": problem})
            sys.stdout.flush()
