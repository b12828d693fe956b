// The set bit of the lowest index, alone; none where there is none. Combinational, log2(Width)
// levels: each bit learns whether any below it is set by doubling distances.
module hc_leftmost #(
  parameter int Width = 4
) (
  input  logic [Width-1:0] bits,
  output logic [Width-1:0] one
);
  logic [Width-1:0] any;  // of this bit and those below
  always_comb begin
    any = bits;
    for (int d = 1; d < Width; d *= 2) any |= any << d;
  end
  assign one = bits & ~(any << 1);
endmodule
