"""``completion``: what bash, zsh and fish need to complete our commands; they ask the commands themselves.

The scripts know nothing: at each Tab they run this command with ``words``, which answers from the parsers, and from the
running testbed if there is one that may be asked.
"""

from __future__ import annotations

import sys
from argparse import Namespace

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin
from topo.errors import EXIT_HOLDS
from topo.paths import PROJECT
from topo.plaintext import say

WORDS = "words"
ASK = f'PYTHONPATH="{PROJECT}" "{sys.executable}" -m topo.foobar completion {WORDS} --'
BASH = f"""\
_foobar() {{
    local IFS=$'\\n'
    COMPREPLY=($({ASK} "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null))
}}
complete -o default -o nosort -F _foobar foobar ./foobar
"""
ZSH = f"""\
#compdef foobar
_foobar() {{
    local -a answers
    answers=("${{(@f)$({ASK} "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    if [[ -n "$answers" ]]; then
        compadd -V foobar -- $answers
    else
        _files
    fi
}}
compdef _foobar foobar ./foobar
"""
FISH = f"""\
function __foobar
    set -l words (commandline -opc) (commandline -ct)
    {ASK} $words[2..-1] 2>/dev/null
end
complete -c foobar -k -a '(__foobar)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


class CompletionCommand(Command):
    """Prints a shell's script, or answers it."""

    name = "completion"
    words = "bash | zsh | fish"
    summary = "what a shell needs to complete these commands"
    about = "Print what a shell needs to complete these commands, as in: source <(./foobar completion bash)"
    group = "the shell"
    at_prompt = False
    of_one_testbed = False
    runs_another = True

    def arguments(self, parser: Parser) -> None:
        about = f"whose script; {WORDS}: what the word after -- and the others may be"
        parser.add_argument("shell", choices=(*SCRIPTS, WORDS), help=about)

    def run(self, options: Namespace, origin: Origin) -> int:
        if options.shell == WORDS:
            *before, text = options.after or [""]
            say("\n".join(origin.suggest(before, text)))
        else:
            say(SCRIPTS[options.shell], end="")
        return EXIT_HOLDS
