"""The composition root: the only room that knows everyone. Builds a server from settings, and runs it.

names          which engines the settings ask for
parts          the engines themselves, each where it can live
memory         what they take, for whoever watches it
doors          who comes in, and which dialect they are met in
house          all of it together
serving        on a socket, until it is told to stop
engine_server  one engine alone, lent to servers elsewhere
"""
