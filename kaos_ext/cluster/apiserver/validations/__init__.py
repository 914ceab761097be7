"""What is wrong with an object, kind by kind, in the real server's words. Entry: `apiserver.validation`."""
