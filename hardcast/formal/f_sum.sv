// hc_sum is a plain sum, LATENCY cycles later, if en came with the data; hc_max is the largest.
module f_sum #(
  parameter int N = 5,
  parameter int W = 4,
  parameter int RADIX = 4,
  parameter int LATENCY = 2,
  parameter int DEEP = 3  // hc_max's latency
) (
  input logic           clk,
  input logic           en,
  input logic [N*W-1:0] d
);
  localparam int M = LATENCY > DEEP ? LATENCY : DEEP;
  logic [W-1:0] q, most;
  hc_sum #(.N(N), .W(W), .RADIX(RADIX)) sum (.clk, .en, .d, .q);
  hc_max #(.N(N), .W(W)) max (.clk, .d, .q(most));

  logic [7:0] age = '0;
  logic [M:0][N*W-1:0] was;
  logic [M:0] on;
  always_comb begin
    was[0] = d;
    on[0] = en;
  end
  always_ff @(posedge clk) begin
    if (age != 8'(M)) age <= age + 1'b1;
    for (int i = 1; i <= M; i++) begin
      was[i] <= was[i-1];
      on[i] <= on[i-1];
    end
  end

  logic [W-1:0] total;
  logic found;
  always_comb begin
    total = '0;
    found = 1'b0;
    for (int i = 0; i < N; i++) begin
      total += was[LATENCY][i*W +: W];
      if (most == was[DEEP][i*W +: W]) found = 1'b1;
    end
    if (age == 8'(M)) begin
      if (on[LATENCY]) assert (q == total);
      assert (found);
      for (int i = 0; i < N; i++) assert ($signed(most) >= $signed(was[DEEP][i*W +: W]));
    end
  end
endmodule
