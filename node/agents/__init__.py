"""The agents a node is made of; they meet in executions and streams of its fabric."""
