// Adds N signed numbers of W bits, modulo 2^W: a tree of RADIX-input adders, a register a level.
// Latency ceil(log_RADIX N), throughput 1. Works only while en: en travels with the data.
module hc_sum #(
  parameter int N = 4,
  parameter int W = 8,
  parameter int RADIX = 4
) (
  input  logic           clk,
  input  logic           en,
  input  logic [N*W-1:0] d,
  output logic [W-1:0]   q
);
  if (N == 1) begin : g_one
    assign q = d;
    logic unused;
    assign unused = &{1'b0, clk, en};
  end else begin : g_level
    localparam int M = (N + RADIX - 1) / RADIX;
    logic [M*W-1:0] s;
    logic           en_q;
    always_ff @(posedge clk) begin
      en_q <= en;
      if (en) begin
        for (int i = 0; i < M; i++) begin
          automatic logic [W-1:0] t = '0;
          for (int j = 0; j < RADIX; j++)
            if (i * RADIX + j < N) t = t + d[(i*RADIX+j)*W +: W];
          s[i*W +: W] <= t;
        end
      end
    end
    hc_sum #(.N(M), .W(W), .RADIX(RADIX)) u_next (.clk, .en(en_q), .d(s), .q);
  end
endmodule
