// A pure delay: q is d as it was N cycles ago. No reset: what travels beside data needs none, and
// valid bits are reset with RESET = 1.
// Latency N, throughput 1.
module hc_delay #(
  parameter int W = 1,
  parameter int N = 1,
  parameter bit RESET = 0
) (
  input  logic         clk,
  input  logic         rst_n,
  input  logic [W-1:0] d,
  output logic [W-1:0] q
);
  if (N == 0) begin : g_wire
    assign q = d;
    logic unused;
    assign unused = &{1'b0, clk, rst_n};
  end else begin : g_regs
    logic [W-1:0] regs[N];
    always_ff @(posedge clk) begin
      regs[0] <= (RESET && !rst_n) ? '0 : d;
      for (int i = 1; i < N; i++) regs[i] <= (RESET && !rst_n) ? '0 : regs[i-1];
    end
    assign q = regs[N-1];
  end
endmodule
