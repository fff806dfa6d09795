{{-- SPDX-License-Identifier: MIT --}}
@props(['name'])
<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
@switch($name)
	@case('brand')<path d="M12 3v18M5 12a7 7 0 0 0 14 0M8.5 8h7"/><circle cx="12" cy="5" r="2"/>@break
	@case('home')<path d="M4 11.5 12 5l8 6.5V19a1 1 0 0 1-1 1h-4.5v-5h-5v5H5a1 1 0 0 1-1-1z"/>@break
	@case('folder')<path d="M4 7a2 2 0 0 1 2-2h3.5l2 2.5H18a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z"/>@break
	@case('out')<path d="M10 5H6a1 1 0 0 0-1 1v12a1 1 0 0 0 1 1h4M14 8l4 4-4 4M18 12H9.5"/>@break
	@case('arrow')<path d="M9 6l6 6-6 6"/>@break
	@case('file')<path d="M7 4h7l4 4v11a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM14 4v4h4"/>@break
	@case('chat')<path d="M5 6h14v10h-7l-4 3.5V16H5z"/>@break
	@case('clock')<circle cx="12" cy="12" r="7.5"/><path d="M12 8v4l2.5 2"/>@break
	@case('plus')<path d="M12 6v12M6 12h12"/>@break
@endswitch
</svg>
