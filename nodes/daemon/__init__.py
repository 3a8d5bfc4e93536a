"""The process of one LISP router: the only place with sockets and a clock."""
