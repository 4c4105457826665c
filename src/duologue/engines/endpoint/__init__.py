"""Engines on other machines: the server that lends one out, and the pool that borrows from several.

wire     what both ends agree on: the address, its errors, signs of life, the way out
served   one connection to the server, and the streams on it
server   the port: who may come in, health, metrics, going down
link     one connection, seen from the borrower
endpoint one server: connected or not, and when it may be asked again
pool     all the addresses behind some names, and which of them gets the next stream
"""
