"""The agents' door: tools for programs that act by themselves, what these may spend, and what they are told first."""
