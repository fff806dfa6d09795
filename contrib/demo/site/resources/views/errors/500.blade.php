{{-- SPDX-License-Identifier: MIT --}}
<x-problem status="500" title="Something went wrong" text="The portal could not answer. Try again in a moment." :href="route('overview')" link="Try again" />
