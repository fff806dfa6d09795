{{-- SPDX-License-Identifier: MIT --}}
<x-problem status="403" title="This page is not yours to see" text="Your account has no access to it. Sign in as another user, or go back to what is yours." :href="route('overview')" link="Go to the overview" />
