// One round of Philox 4x32 (Salmon et al., SC'11), the two multiplications by constants in 16-bit
// pieces so that no stage holds more than a 16x16 product or one 32-bit sum of three.
// `key` must stand still from the cycle of in_valid; words are {c3, c2, c1, c0}.
// Latency 3, throughput 1. Outputs keep their value until the next one.
module hc_philox_round (
  input  logic             clk,
  input  logic             rst_n,
  input  logic [1:0][31:0] key,
  input  logic             in_valid,
  input  logic [3:0][31:0] in_words,
  output logic             out_valid,
  output logic [3:0][31:0] out_words
);
  localparam logic [1:0][31:0] Factor = {32'hCD9E8D57, 32'hD2511F53};  // of c2, of c0

  logic       valid_1, valid_2;
  logic [1:0][31:0] mixed_1, mixed_2;  // the odd words with their keys, waiting for the products
  // Pieces of each product: low*low, low*high, high*low, high*high.
  logic [1:0][31:0] ll_1, lh_1, hl_1, hh_1;
  logic [1:0][15:0] bottom_2;
  logic [1:0][17:0] middle_2;
  logic [1:0][31:0] top_2;

  always_ff @(posedge clk) begin
    {out_valid, valid_2, valid_1} <= rst_n ? {valid_2, valid_1, in_valid} : '0;
    if (in_valid)
      for (int m = 0; m < 2; m++) begin
        ll_1[m]    <= 32'(in_words[2*m][15:0]) * 32'(Factor[m][15:0]);
        lh_1[m]    <= 32'(in_words[2*m][15:0]) * 32'(Factor[m][31:16]);
        hl_1[m]    <= 32'(in_words[2*m][31:16]) * 32'(Factor[m][15:0]);
        hh_1[m]    <= 32'(in_words[2*m][31:16]) * 32'(Factor[m][31:16]);
        mixed_1[m] <= in_words[2*m+1] ^ key[m];
      end
    if (valid_1)
      for (int m = 0; m < 2; m++) begin
        bottom_2[m] <= ll_1[m][15:0];
        middle_2[m] <= 18'(ll_1[m][31:16]) + 18'(lh_1[m][15:0]) + 18'(hl_1[m][15:0]);
        top_2[m]    <= hh_1[m] + 32'(lh_1[m][31:16]) + 32'(hl_1[m][31:16]);
        mixed_2[m]  <= mixed_1[m];
      end
    if (valid_2) begin
      // The high half of one product meets the odd word of the other pair.
      out_words[0] <= (top_2[1] + 32'(middle_2[1][17:16])) ^ mixed_2[0];
      out_words[1] <= {middle_2[1][15:0], bottom_2[1]};
      out_words[2] <= (top_2[0] + 32'(middle_2[0][17:16])) ^ mixed_2[1];
      out_words[3] <= {middle_2[0][15:0], bottom_2[0]};
    end
  end
endmodule
