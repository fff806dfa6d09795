{{-- SPDX-License-Identifier: MIT --}}
<x-problem status="404" title="This page does not exist" text="The address may be wrong, or what was here was deleted." :href="route('overview')" link="Go to the overview" />
