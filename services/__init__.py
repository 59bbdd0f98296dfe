"""The daemons of www.foobar.com: one description each, and the supervisor that runs them all."""
