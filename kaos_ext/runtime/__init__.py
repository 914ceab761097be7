"""The programs that run in pods, in one service shell."""
