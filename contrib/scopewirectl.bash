# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion of scopewirectl(1) for bash.
_scopewirectl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}

	case $before in
	--config | --env-file | --token-file | --cacert | --socket)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	token)
		mapfile -t COMPREPLY < <(compgen -W 'list add remove' -- "$word")
		return
		;;
	webhooks)
		mapfile -t COMPREPLY < <(compgen -W 'list resend' -- "$word")
		return
		;;
	user)
		mapfile -t COMPREPLY < <(compgen -W 'export erase' -- "$word")
		return
		;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(scopewirectl --list-options)" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -W "$(scopewirectl --list-commands)" -- "$word")
	fi
}
complete -F _scopewirectl scopewirectl
