"""Real PostgreSQL for tests: servers, standbys, PgBouncer, and a proxy that cuts their connections at chosen points."""
