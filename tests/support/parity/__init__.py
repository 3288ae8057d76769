"""One corpus of requests and answers, sent by both clients to one server, and what came of each."""
