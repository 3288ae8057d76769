"""Cassettes: the requests of a run and their answers in one file, to be replayed without a network.

`cassette_file` reads and checks the format, `normal_form` is what requests are compared by, `recording` writes a
cassette while a run works, `replaying` answers from one, `misses` explains a request that was not recorded.
`transports` stands in place of the connections; it needs httpx, and is loaded when a request is sent.
"""
