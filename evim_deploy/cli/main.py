"""All commands of ``evim-deploy``, and how each of them ends."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

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
    "Exit codes: 0 done; 1 a fault in evim-deploy itself, or `compare` found B slower; 2 usage; 3 bad input; "
    "4 something not installed; 5 parity failed; 6 this host cannot check it; 130 interrupted."
)

# Typer brings a click of its own, in older releases the click that everyone has; both have this class there.
_ClickException: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    name="evim-deploy",
    help="EfficientViM checkpoints to ONNX, Core ML and TFLite artifacts that were checked.",
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


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"evim-deploy {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """EfficientViM checkpoints to ONNX, Core ML and TFLite artifacts that were checked."""
    if context.invoked_subcommand != "bench":  # which times engines as they are
        threads.let_waiting_threads_sleep()


def run() -> NoReturn:
    """The program: run a command, tell any problem in one message, and exit by the documented codes."""
    # torch, TensorFlow and coremltools create many objects that live as long as the process. With Python's default
    # threshold, 700 new objects, garbage collection takes an eighth of the export of a small network.
    gc.set_threshold(20_000)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup or a shell's & may have it
            signal.signal(number, _interrupt)
    SETTINGS.json = "--json" in sys.argv  # for the error too that stops the options from being read
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
        _fail(UsageProblem(error.format_message() or "No command was given.", "See `evim-deploy --help`."))
    except EvimError as error:
        _fail(error)
    except SystemExit as stop:  # 1 is how rich and click end where the reader of stdout went away, as `head` does
        sys.exit(0 if stop.code == 1 else stop.code)
    except BrokenPipeError:  # likewise
        sys.exit(0)
    except Exception as error:  # the last resort: a fault of ours is told in one message too
        if SETTINGS.verbose and not SETTINGS.interrupted:
            sys.stderr.writelines([*SETTINGS.third_party, traceback.format_exc()])
        fault = EvimError(
            f"evim-deploy failed: {type(error).__name__}: {error}",
            "This is a fault in evim-deploy. Run it again with --verbose and report what it prints.",
        )
        _fail(problem_of(error) or fault)
    sys.exit(code)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse names that are no text here, before a library meets them: none takes their bytes.

    Raises:
        BadInput: An argument has bytes that the system's encoding lacks.
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
        signal.signal(number, signal.SIG_IGN)  # a second one must not break into the tidying up
    SETTINGS.interrupted = True
    raise KeyboardInterrupt


def _interrupted() -> NoReturn:
    sys.stderr.write("Interrupted. Nothing partial was left.\n")
    _tell_machines({"exit_code": INTERRUPTED_EXIT_CODE, "cause": "Interrupted.", "remedy": "Run it again."})
    sys.exit(INTERRUPTED_EXIT_CODE)


def _fail(error: EvimError) -> NoReturn:
    if SETTINGS.interrupted:  # a library made another error of it
        _interrupted()
    sys.stderr.write(f"Error: {error}\n")
    _tell_machines(error.to_dict())
    sys.exit(error.exit_code)


def _tell_machines(problem: Mapping[str, int | str]) -> None:
    if SETTINGS.json:
        with suppress(EvimError, BrokenPipeError):  # the message on stderr and the exit code say it, too
            print_json({"schema_version": SCHEMA_VERSION, "error": problem})
            sys.stdout.flush()
