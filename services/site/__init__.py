"""The website www.foobar.com: a small message board that every application server runs."""
