"""``audit``: is anything of severity medium or higher found?."""
