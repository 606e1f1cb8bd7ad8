#pragma once

// The commands that speak to a running server. Each parses its own flags and
// returns the exit status of the program.

namespace zerohop {

// `zerohop embed [--addr A] [TEXT…]`: one JSON array of floats a line, in order.
int Embed(int argc, char** argv);

// `zerohop info [--addr A]`: what the server says of its replicas.
int Info(int argc, char** argv);

}  // namespace zerohop
