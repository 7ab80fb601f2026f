"""`pocketflow-trace completion`: a script that completes commands, options and runs in a shell.

The options are taken from the help of each command, so that they are never other than these.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from pocketflow_trace import cli
from pocketflow_trace.cli.options import PROGRAM, CommandParser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_OPTION: Final = re.compile(
    r"^ +(?:-\w(?: [A-Z]+)?, )?(?P<name>--[a-z][\w-]*)(?:[ =]\{(?P<choices>[^}]*)\})?", re.MULTILINE
)
"""An option in a command's help, with what it may be."""

_ARGUMENT: Final = re.compile(r"^  \{(?P<choices>[^}]*)\}", re.MULTILINE)
"""An argument that is one of several words."""

_TAKE_RUNS: Final = frozenset({"show", "store", "graph", "diff", "report", "export"})
_TAKE_FILES: Final = frozenset({"run"})
_LIST_IDS: Final = "list --ids"

_SUMMARY: Final = """\
Prints a script that completes commands, options, their values and the ids of kept runs.

exit code: 0 the script was printed, 2 wrong usage"""

_EXAMPLES: Final = (
    ("completion bash > ~/.local/share/bash-completion/completions/pocketflow-trace", "for bash"),
    ("completion zsh > ~/.zfunc/_pocketflow-trace", "for zsh, with ~/.zfunc in its fpath"),
    ("completion fish > ~/.config/fish/completions/pocketflow-trace.fish", "for fish"),
)


class Words(NamedTuple):
    """What can follow a command.

    Attributes:
        options: Its options, each with its values, if they are known.
        arguments: Words that can stand alone.
    """

    options: Mapping[str, Sequence[str]]
    arguments: Sequence[str]


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace completion` with these arguments.

    Raises:
        CliError: Wrong usage.
    """
    parser = CommandParser("completion", _SUMMARY, _EXAMPLES)
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help="the shell")
    options = parser.parse_args(args)
    sys.stdout.write(_SCRIPTS[options.shell]({name: _words(name) for name in cli.COMMANDS}))
    return 0


def _words(command: str) -> Words:
    text = _help_of(command)
    options = {match["name"]: _choices(match["choices"]) for match in _OPTION.finditer(text)}
    arguments = [word for match in _ARGUMENT.finditer(text) for word in _choices(match["choices"])]
    return Words({"--help": (), **options}, arguments)


def _help_of(command: str) -> str:
    module = f"{cli.__name__}.{command}"
    if importlib.util.find_spec(module) is None:
        return ""
    page = io.StringIO()
    # The parsers leave by SystemExit once they have printed their help.
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    return page.getvalue()


def _choices(text: str | None) -> Sequence[str]:
    return text.split(",") if text else ()


# --- bash -----------------------------------------------------------------------------------

_BASH: Final = """\
# Completes {program} in bash.
_pocketflow_trace() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} words= runs= files=
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
        return
    fi
    case "$command $previous" in
{values}
        *" --dir" | *" --out") files=1 ;;
        *)
            case "$command" in
{options}
            esac
            ;;
    esac
    if [[ $word != -* ]]; then
        [[ $runs ]] && words+=" last last~1 $("${{COMP_WORDS[0]}}" {list_ids} 2>/dev/null)"
        [[ $files ]] && compopt -o default 2>/dev/null
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _pocketflow_trace {program}
"""


def _bash(commands: Mapping[str, Words]) -> str:
    values = [
        f'        "{command} {option}") words="{" ".join(choices)}" ;;'
        for command, words in commands.items()
        for option, choices in words.options.items()
        if choices
    ]
    options = [
        f'                {command}) words="{" ".join([*words.options, *words.arguments])}"'
        f"{' runs=1' if command in _TAKE_RUNS else ''}"
        f"{' files=1' if command in _TAKE_FILES else ''} ;;"
        for command, words in commands.items()
    ]
    return _BASH.format(
        program=PROGRAM,
        commands=" ".join(commands),
        values="\n".join(values),
        options="\n".join(options),
        list_ids=_LIST_IDS,
    )


# --- zsh ------------------------------------------------------------------------------------

_ZSH: Final = """\
#compdef {program}
# Completes {program} in zsh.
_pocketflow_trace() {{
    local -a found
    if (( CURRENT == 2 )); then
        found=(
{commands}
        )
        _describe command found
        return
    fi
    case "$words[2] $words[CURRENT-1]" in
{values}
        *" --dir" | *" --out") _files; return ;;
    esac
    case "$words[2]" in
{options}
    esac
    compadd -- $found
}}
_runs() {{
    found+=(last last~1 ${{(f)"$("$words[1]" {list_ids} 2>/dev/null)"}})
}}
compdef _pocketflow_trace {program}
"""


def _zsh(commands: Mapping[str, Words]) -> str:
    described = [f"            {_quoted(f'{name}:{cli.COMMANDS[name]}')}" for name in commands]
    values = [
        f'        "{command} {option}") compadd -- {" ".join(choices)}; return ;;'
        for command, words in commands.items()
        for option, choices in words.options.items()
        if choices
    ]
    options = [
        f"        {command}) found=({' '.join([*words.options, *words.arguments])})"
        f"{'; _runs' if command in _TAKE_RUNS else ''}"
        f"{'; _files' if command in _TAKE_FILES else ''} ;;"
        for command, words in commands.items()
    ]
    return _ZSH.format(
        program=PROGRAM,
        commands="\n".join(described),
        values="\n".join(values),
        options="\n".join(options),
        list_ids=_LIST_IDS,
    )


# --- fish -----------------------------------------------------------------------------------


def _fish(commands: Mapping[str, Words]) -> str:
    lines = [
        f"# Completes {PROGRAM} in fish.",
        f"complete -c {PROGRAM} -f",
        f"complete -c {PROGRAM} -n __fish_use_subcommand -l help",
        f"complete -c {PROGRAM} -n __fish_use_subcommand -l version",
    ]
    for command, words in commands.items():
        summary = _quoted(cli.COMMANDS[command])
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command} -d {summary}")
        lines += _fish_command(command, words)
    return "\n".join(lines) + "\n"


def _fish_command(command: str, words: Words) -> list[str]:
    start = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {command}'"
    lines = [
        f"{start} -l {option[2:]}{_fish_value(option, v)}" for option, v in words.options.items()
    ]
    lines += [f"{start} -a {_quoted(' '.join(words.arguments))}"] if words.arguments else []
    if command in _TAKE_RUNS:
        lines.append(f"{start} -a '(echo last; {PROGRAM} {_LIST_IDS} 2>/dev/null)'")
    return [*lines, f"{start} -F"] if command in _TAKE_FILES else lines


def _fish_value(option: str, choices: Sequence[str]) -> str:
    if choices:
        return f" -x -a {_quoted(' '.join(choices))}"
    return " -r -F" if option in {"--dir", "--out"} else ""


def _quoted(text: str) -> str:
    """Return a text in single quotes; ours has none inside."""
    return f"'{text}'"


_SCRIPTS: Final[Mapping[str, Callable[[Mapping[str, Words]], str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
