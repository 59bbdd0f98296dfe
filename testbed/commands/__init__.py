"""The commands, one file each: command line, Mininet prompt, help, completion and the manual are made from them."""
