"""The sandbox: an authorization server and a mail server inside the program, on loopback, to try everything.

No password is asked for and nothing ever leaves: recipients are mailboxes of ``sandbox.test`` only.
"""
