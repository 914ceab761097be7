"""`kaos completion SHELL`: a script that asks `kaos __complete` for what could come next.

The words of the grammar are answered without any cluster; names of things are asked of it, briefly and quietly.
"""

from __future__ import annotations

from kaos_ext.commands.result import Plain, Result
from kaos_ext.commands.session import Session

BASH = """\
_kaos_complete() {
    local line candidates=()
    while IFS= read -r line; do
        [[ $line == ":files" ]] && { compopt -o default; return; }
        candidates+=("${line%%$'\\t'*}")
    done < <(kaos __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=("${candidates[@]}")
}
complete -F _kaos_complete kaos
"""
ZSH = """\
#compdef kaos
_kaos() {
    local line candidates=()
    while IFS= read -r line; do
        [[ $line == ":files" ]] && { _files; return; }
        candidates+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done < <(kaos __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    _describe kaos candidates
}
if [ "$funcstack[1]" = "_kaos" ]; then _kaos "$@"; else compdef _kaos kaos; fi
"""
FISH = """\
function __kaos_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer (kaos __complete $words[2..-1] 2>/dev/null)
    if test "$answer[1]" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $answer
    end
end
complete -c kaos -f -a '(__kaos_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


async def completion(session: Session, *, shell: str) -> Result:
    return Result(Plain(SCRIPTS[shell]), {"script": SCRIPTS[shell]})
