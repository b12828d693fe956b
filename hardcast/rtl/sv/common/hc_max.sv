// Largest of N signed numbers: a register a level, latency ceil(log2 N).
module hc_max #(
  parameter int N = 2,
  parameter int W = 8
) (
  input  logic           clk,
  input  logic [N*W-1:0] d,
  output logic [W-1:0]   q
);
  if (N == 1) begin : g_one
    assign q = d;
    logic unused;
    assign unused = &{1'b0, clk};
  end else begin : g_level
    localparam int M = (N + 1) / 2;
    logic [M*W-1:0] m;
    always_ff @(posedge clk)
      for (int i = 0; i < M; i++)
        if (2 * i + 1 < N && $signed(d[(2*i+1)*W +: W]) > $signed(d[2*i*W +: W]))
          m[i*W +: W] <= d[(2*i+1)*W +: W];
        else m[i*W +: W] <= d[2*i*W +: W];
    hc_max #(.N(M), .W(W)) u_next (.clk, .d(m), .q);
  end
endmodule
