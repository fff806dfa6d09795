{{-- SPDX-License-Identifier: MIT --}}
<x-problem status="419" title="This page was open for too long" text="You were signed out meanwhile. Sign in and try again." :href="route('login')" link="Sign in" />
