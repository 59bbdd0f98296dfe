"""``detection``: is every attack seen and stopped, and nobody honest?"""
