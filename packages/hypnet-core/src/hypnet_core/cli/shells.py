"""The scripts that shells run at Tab.

Typer's own do not know options with `=`: bash takes `train.lr=` for two words and puts
a blank after it, and zsh completes nothing at the first Tab of a session.
"""

from __future__ import annotations

import contextlib

_BASH = r"""
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" current prefix reply
    local -a words
    # By blanks alone: bash itself would also split at = and at :.
    IFS=' ' read -r -a words <<< "$line"
    [[ "$line" == *' ' ]] && words+=("")
    current="${words[${#words[@]}-1]}"
    COMPREPLY=()
    while IFS= read -r reply; do
        [[ -n "$reply" ]] && COMPREPLY+=("$reply")
    done < <(env COMP_WORDS="${words[*]}" COMP_CWORD="$((${#words[@]} - 1))" \
        %(autocomplete_var)s=complete_bash "$1")
    # Bash replaces what follows the last of these.
    if [[ "$current" == *[=:]* && "$COMP_WORDBREAKS" == *=* ]]; then
        prefix="${current%%"${current##*[=:]}"}"
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
    for reply in "${COMPREPLY[@]}"; do
        [[ "$reply" == *[=.] ]] && compopt -o nospace 2>/dev/null
    done
    return 0
}

complete -o default -F %(complete_func)s %(prog_name)s
"""

_ZSH = r"""
#compdef %(prog_name)s

%(complete_func)s() {
  local -a keyed dotted plain
  local line name
  while IFS= read -r line; do
    [[ -n "$line" ]] || continue
    name="${${line%%%%$'\t'*}//:/\\:}"
    line="${${line#$name}#$'\t'}"
    # A key goes on with its value, or with the options of what it chooses.
    case "$name" in
      *=) keyed+=("${name%%=}:$line") ;;
      *.) dotted+=("${name%%.}:$line") ;;
      *) plain+=("$name${line:+:$line}") ;;
    esac
  done < <(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _TYPER_COMPLETE_FISH_ACTION=get-args \
    %(autocomplete_var)s=complete_fish %(prog_name)s)
  (( $#keyed )) && _describe -t keys option keyed -S =
  (( $#dotted )) && _describe -t groups group dotted -S .
  (( $#plain )) && _describe -t values value plain
  (( $#keyed + $#dotted + $#plain )) || _files
}

# At the first Tab this file is the function that zsh has just loaded.
if [[ "$funcstack[1]" == "_%(prog_name)s" ]]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""


def use_own_scripts() -> None:
    """Let `--install-completion` and `--show-completion` give our scripts."""
    # Typer has no public place for scripts; without this one its own remain.
    with contextlib.suppress(ImportError, AttributeError):
        from typer import _completion_shared as shared

        shared._completion_scripts.update(bash=_BASH.strip(), zsh=_ZSH.strip())  # noqa: SLF001
