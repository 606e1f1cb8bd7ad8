"""Engines that come with the wheel. Each imports its library only when it is chosen, in load()."""
