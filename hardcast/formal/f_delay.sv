// hc_delay is a pure delay: q is d of N cycles ago, and with RESET 0 if a reset came since.
module f_delay #(
  parameter int W = 3,
  parameter int N = 2,
  parameter bit RESET = 0
) (
  input logic         clk,
  input logic         rst_n,
  input logic [W-1:0] d
);
  logic [W-1:0] q;
  hc_delay #(.W(W), .N(N), .RESET(RESET)) delay (.*);

  logic [7:0] age = '0;
  logic [N:0][W-1:0] was;
  logic [N:0] reset;
  always_comb begin
    was[0] = d;
    reset[0] = 1'b0;
  end
  always_ff @(posedge clk) begin
    if (age != 8'(N)) age <= age + 1'b1;
    for (int i = 1; i <= N; i++) begin
      was[i] <= was[i-1];
      reset[i] <= i == 1 ? !rst_n : reset[i-1] || !rst_n;
    end
  end
  always_comb if (age == 8'(N)) assert (q == (RESET && N > 0 && reset[N] ? '0 : was[N]));
endmodule
