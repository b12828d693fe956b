// Rotates pairs of TR lanes: a word of first halves (a), then one of second halves (b):
//     a' = rs(a c - b s, SHIFT);  b' = rs(a s + b c, SHIFT)
// The same product joins the two levels of the sin/cos ROM, with a word c of cosines and one of sines.
// The words come from a memory, so that they stand still for a cycle first.
// Latency 5, throughput 1 word (a pair every two).
module hc_rope #(
  parameter int TR = 1,
  parameter int META = 1
) (
  input  logic                 clk,
  input  logic                 rst_n,
  input  logic                 in_valid,
  input  logic                 in_second,  // b; a came the cycle before
  input  logic [4:0]           shift,
  input  logic [META-1:0]      in_meta,
  input  logic [TR-1:0][31:0]  in_word,
  input  logic [TR-1:0][31:0]  in_angle,   // {sin, cos}, valid with a and with b
  output logic                 out_valid,
  output logic                 out_second,
  output logic [META-1:0]      out_meta,
  output logic [TR-1:0][34:0]  out_word
);
  logic valid_1, second_1, valid_2, second_2, valid_3, second_3;
  logic [META-1:0] meta_1, meta_2, meta_3;
  logic valid_0, second_0;
  logic [META-1:0] meta_0;
  logic [TR-1:0][31:0] word_0, word_1, word_2, angle_0, angle_1;
  logic [TR-1:0][40:0] p_low_2, p_high_2, q_low_2, q_high_2;  // products with 8 bits of an angle each
  logic [TR-1:0][48:0] t_3;
  always_ff @(posedge clk) begin
    valid_0 <= in_valid && rst_n;
    {second_0, meta_0} <= {in_second, in_meta};
    if (in_valid) begin
      word_0  <= in_word;
      angle_0 <= in_angle;
    end
    valid_1 <= valid_0 && rst_n;
    valid_2 <= valid_1 && rst_n;
    valid_3 <= valid_2 && rst_n;
    out_valid <= valid_3 && rst_n;
    {second_1, meta_1} <= {second_0, meta_0};
    {second_2, meta_2} <= {second_1, meta_1};
    {second_3, meta_3} <= {second_2, meta_2};
    {out_second, out_meta} <= {second_3, meta_3};
    if (valid_0) begin
      word_1  <= word_0;
      angle_1 <= angle_0;
    end
    if (valid_1) begin
      word_2 <= word_1;
      for (int i = 0; i < TR; i++) begin
        automatic logic signed [31:0] a = second_1 ? $signed(word_2[i]) : $signed(word_1[i]);
        automatic logic signed [31:0] b = second_1 ? $signed(word_1[i]) : $signed(word_0[i]);
        automatic logic [31:0] angle = angle_1[i];
        automatic logic [15:0] p = second_1 ? angle[31:16] : angle[15:0];
        automatic logic [15:0] q = second_1 ? angle[15:0] : angle[31:16];
        p_low_2[i]  <= 41'(a) * 41'($signed({1'b0, p[7:0]}));
        p_high_2[i] <= 41'(a) * 41'($signed(p[15:8]));
        q_low_2[i]  <= 41'(b) * 41'($signed({1'b0, q[7:0]}));
        q_high_2[i] <= 41'(b) * 41'($signed(q[15:8]));
      end
    end
    if (valid_2)
      for (int i = 0; i < TR; i++) begin
        automatic logic signed [48:0] ql = 49'($signed(q_low_2[i]));
        automatic logic signed [48:0] qh = 49'($signed(q_high_2[i])) <<< 8;
        // p + q for the second halves, p - q for the first: minus is the complement and one
        t_3[i] <= 49'($signed(p_low_2[i])) + (49'($signed(p_high_2[i])) <<< 8)
                  + (second_2 ? ql : ~ql) + (second_2 ? qh : ~qh) + (second_2 ? 49'd0 : 49'd2);
      end
    if (valid_3)
      for (int i = 0; i < TR; i++) begin
        automatic logic signed [48:0] h = $signed(t_3[i]) >>> (shift - 5'd1);
        out_word[i] <= 35'((h + 49'sd1) >>> 1);
      end
  end
endmodule
