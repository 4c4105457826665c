"""The composition root: the only room that knows everyone. Builds a server from settings, and runs it.

parts          the engines, by what the settings name
doors          who comes in, and which dialect they are met in
house          all of it together
serving        on a socket, until it is told to stop
engine_server  one engine alone, lent to servers elsewhere
"""
