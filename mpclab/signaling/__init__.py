"""How parties meet: the signaling server, its clients, and the mesh of links they build.

`rooms` is the server, `client` a party's side of it, `mesh` the links between parties. All are
machines; `messages` is what they say to each other, `negotiate` and `relay` the cryptography.
"""
