"""`mipi completion`: completes commands, flags, choices and keys in bash, zsh and fish."""

from __future__ import annotations

import argparse
from argparse import Namespace

from mipi_pl.commands.options import AddParser

_DESCRIPTION = """\
Prints a script that completes commands, flags, config choices (env=...) and keys (algorithm.alpha=...) at the Tab key.
The script asks mipi itself, so it needs no update.

In bash, add to ~/.bashrc: eval "$(mipi completion bash)"

In zsh, add to ~/.zshrc, after compinit: eval "$(mipi completion zsh)"

In fish: mipi completion fish > ~/.config/fish/completions/mipi.fish"""

_SCRIPTS = {
    "bash": """\
_mipi_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\\n'
    local word="${line##*[[:space:]]}"
    COMPREPLY=($("$1" completion bash --line "$line" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
    if [[ $COMP_WORDBREAKS == *=* ]]; then  # only what follows the last '=' is replaced
        local kept="${word%"${word##*=}"}"
        COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    fi
}
complete -o default -F _mipi_completion mipi
""",
    "zsh": """\
_mipi_completion() {
    local -a found
    found=(${(f)"$("$words[1]" completion zsh --line "$LBUFFER" 2>/dev/null)"})
    if (( ! $#found )); then _files; return; fi
    compadd -S '' -- ${(M)found:#*=}
    compadd -- ${found:#*=}
}
compdef _mipi_completion mipi
""",
    "fish": """\
function __mipi_completion
    set --local found (mipi completion fish --line (commandline --current-process --cut-at-cursor) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        complete --do-complete "'' "(commandline --current-token --cut-at-cursor)
    end
end
complete --command mipi --no-files --arguments '(__mipi_completion)'
""",
}


def declare(add_parser: AddParser) -> None:
    """Add the parser of the command."""
    parser = add_parser("completion", help="print a script that completes commands and keys", description=_DESCRIPTION)
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help=", ".join(_SCRIPTS))
    # For the scripts: print the candidates for the last word of a command line.
    parser.add_argument("--line", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the script, or the candidates for a command line."""
    if options.line is None:
        print(_SCRIPTS[options.shell], end="")
        return
    from mipi_pl.commands.candidates import candidates

    print("".join(f"{candidate}\n" for candidate in candidates(options.line)), end="")
