"""The engine: it runs, saves, judges, draws and reports every experiment."""
